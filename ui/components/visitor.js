// Keeps the visitor's secret in a cookie. Where this browser has one already, from another tab, that one holds.

export default function ({ data, setStateValue }) {
  const kept = document.cookie.match(/(?:^|; )vae_visitor=([\w-]{43})(?:;|$)/)?.[1];
  if (kept && kept !== data.token) return setStateValue("token", kept), undefined;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `vae_visitor=${data.token}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}
