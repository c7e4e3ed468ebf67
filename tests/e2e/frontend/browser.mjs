// A browser's rules for cross-origin calls, around Node's fetch, which has none:
// https://fetch.spec.whatwg.org/#http-cors-protocol

const ORIGIN = "https://app.example";
const SAFE_METHODS = ["GET", "HEAD", "POST"];
const SAFE_HEADERS = ["accept", "accept-language", "content-language", "range"];
const SAFE_TYPES = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/** The preflight requests that were made, one entry for each: the method and the header names. */
export const preflights = [];

function needsPreflight([name, value]) {
  if (name === "content-type") return !SAFE_TYPES.includes(value.split(";")[0]);
  return !SAFE_HEADERS.includes(name);
}

function listedIn(headers, name) {
  return (headers.get(name) ?? "").toLowerCase().split(",").map((item) => item.trim());
}

async function preflight(url, method, names) {
  const headers = { origin: ORIGIN, "access-control-request-method": method };
  if (names.length) headers["access-control-request-headers"] = names.join(",");
  const answer = await fetch(url, { method: "OPTIONS", headers });
  assertReadable(answer);
  if (!answer.ok) throw new TypeError(`preflight of ${method} ${url}: ${answer.status}`);
  const allowed = listedIn(answer.headers, "access-control-allow-headers");
  const refused = names.filter((name) => !allowed.includes(name));
  if (refused.length) throw new TypeError(`preflight of ${url} does not allow ${refused}`);
  const methods = listedIn(answer.headers, "access-control-allow-methods");
  if (!SAFE_METHODS.includes(method) && !methods.includes(method.toLowerCase()))
    throw new TypeError(`preflight of ${url} does not allow ${method}`);
  preflights.push(`${method} ${names}`);
}

function assertReadable(answer) {
  if (!["*", ORIGIN].includes(answer.headers.get("access-control-allow-origin")))
    throw new TypeError(`a page may not read ${answer.url}`);
}

/** `fetch` as in a page of another origin: throws a TypeError where the server does not allow the call. */
export async function browserFetch(url, options = {}) {
  const request = new Request(url, options);
  const names = [...request.headers].filter(needsPreflight).map(([name]) => name);
  if (names.length || !SAFE_METHODS.includes(request.method)) await preflight(url, request.method, names);
  request.headers.set("origin", ORIGIN);
  const answer = await fetch(request);
  assertReadable(answer);
  return answer;
}
