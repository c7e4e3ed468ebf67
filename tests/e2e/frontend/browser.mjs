// A browser's rules for calls to another origin, around Node's fetch, which knows of none:
// https://fetch.spec.whatwg.org/#http-cors-protocol

const ORIGIN = "https://app.example";
const SAFE_METHODS = ["GET", "HEAD", "POST"];
const SAFE_HEADERS = ["accept", "accept-language", "content-language", "range"];
const SAFE_TYPES = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/** What was asked beforehand, and what each answer let a page read: one entry a call. */
export const preflights = [];

function unsafe([name, value]) {
  if (name === "content-type") return !SAFE_TYPES.includes(value.split(";")[0]);
  return !SAFE_HEADERS.includes(name);
}

function words(headers, name) {
  return (headers.get(name) ?? "").toLowerCase().split(",").map((word) => word.trim());
}

async function preflight(url, method, names) {
  const headers = { origin: ORIGIN, "access-control-request-method": method };
  if (names.length) headers["access-control-request-headers"] = names.join(",");
  const answer = await fetch(url, { method: "OPTIONS", headers });
  readable(answer);
  if (!answer.ok) throw new TypeError(`preflight of ${method} ${url}: ${answer.status}`);
  const allowed = words(answer.headers, "access-control-allow-headers");
  const refused = names.filter((name) => !allowed.includes(name));
  if (refused.length) throw new TypeError(`preflight of ${url} does not allow ${refused}`);
  const methods = words(answer.headers, "access-control-allow-methods");
  if (!SAFE_METHODS.includes(method) && !methods.includes(method.toLowerCase()))
    throw new TypeError(`preflight of ${url} does not allow ${method}`);
  preflights.push(`${method} ${names}`);
}

function readable(answer) {
  if (!["*", ORIGIN].includes(answer.headers.get("access-control-allow-origin")))
    throw new TypeError(`a page may not read ${answer.url}`);
}

/** As `fetch` in a page of another origin: refused where the server does not allow it. */
export async function browserFetch(url, options = {}) {
  const request = new Request(url, options);
  const names = [...request.headers].filter(unsafe).map(([name]) => name);
  if (names.length || !SAFE_METHODS.includes(request.method)) await preflight(url, request.method, names);
  request.headers.set("origin", ORIGIN);
  const answer = await fetch(request);
  readable(answer);
  return answer;
}
