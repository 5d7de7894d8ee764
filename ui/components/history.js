// Makes the browser's Back go to the page before, as it was left.
//
// Streamlit adds an entry to the history for each setting that the server writes into the address, and on the way to
// another page some more, of the page that is left, whose settings it has dropped by then. Here such an entry takes the
// place of the one before; and the entry of a page that is left gets the address at which the visitor last did something.

function onePerPage() {
  const push = history.pushState.bind(history);
  let left = new URL(location);
  for (const event of ["pointerdown", "keydown", "click"]) {
    window.addEventListener(event, () => (left = new URL(location)), { capture: true, passive: true });
  }
  history.pushState = (state, unused, url) => {
    if (new URL(url, location).pathname === location.pathname) return history.replaceState(state, unused, url);
    if (left.pathname === location.pathname) history.replaceState(history.state, "", left.href);
    return push(state, unused, url);
  };
  history.onePerPage = true;
}

export default function () {
  if (!history.onePerPage) onePerPage();
}
