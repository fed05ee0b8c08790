// A link may carry the token behind its '#', which no browser sends and no log keeps.
"use strict";
const token = decodeURIComponent(location.hash.slice(1));
if (token) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("token").value = token;
  document.forms[0].requestSubmit();
}
