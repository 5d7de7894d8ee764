// Makes the browser's Back go to the page before, as it was left; and on a phone, folds away the list of pages.
//
// Streamlit adds an entry to the history for each setting that the server writes into the address, and on the way to
// another page some more, of the page that is left, whose settings it has dropped by then. Here such an entry takes the
// place of the one before; and the entry of a page that is left gets the address at which the visitor last did something.

const PHONE = 768; // screen pixels under which Streamlit lays the list of pages over the page

// Streamlit (1.67) leaves the list open over the page to which it has led.
function foldPages() {
  const sidebar = document.querySelector('[data-testid="stSidebar"]');
  if (window.innerWidth < PHONE && sidebar?.getBoundingClientRect().right > 0) {
    sidebar.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
  }
}

function onePerPage() {
  const push = history.pushState.bind(history);
  let left = new URL(location);
  for (const event of ["pointerdown", "keydown", "click"]) {
    window.addEventListener(event, () => (left = new URL(location)), { capture: true, passive: true });
  }
  history.pushState = (state, unused, url) => {
    if (new URL(url, location).pathname === location.pathname) return history.replaceState(state, unused, url);
    if (left.pathname === location.pathname) history.replaceState(history.state, "", left.href);
    push(state, unused, url);
    foldPages();
  };
  history.onePerPage = true;
}

export default function () {
  if (!history.onePerPage) onePerPage();
}
