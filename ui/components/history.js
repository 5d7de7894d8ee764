// Makes the browser's Back go to the page before, as it was left.
//
// Streamlit adds an entry to the history for each setting that the server writes into the address, and on the way to
// another page one or two more, of the page that is left, whose settings it has dropped by then. Here such an entry takes
// the place of the one before; and what is dropped on the way is put back before the other page's entry is added.

const ON_THE_WAY_MS = 500;

function onePerPage() {
  const push = history.pushState.bind(history);
  let left = null; // the address before Streamlit last changed it, and when that began
  history.pushState = (state, unused, url) => {
    const now = performance.now();
    if (new URL(url, location).pathname === location.pathname) {
      if (!left || now - left.at > ON_THE_WAY_MS) left = { href: location.href, at: now };
      return history.replaceState(state, unused, url);
    }
    if (left && now - left.at < ON_THE_WAY_MS) history.replaceState(history.state, "", left.href);
    left = null;
    return push(state, unused, url);
  };
  history.onePerPage = true;
}

export default function () {
  if (!history.onePerPage) onePerPage();
}
