// The existing frontend's calls, by the library that it uses and by plain fetch. Prints one JSON object: each call's
// status and data by its name, and what was asked beforehand.

import { createClient } from "@supabase/supabase-js";
import { browserFetch, preflights } from "./browser.mjs";

const { GATEWAY, TOKEN, TOOLBOX, IMAGE, NEW_TOOLBOX } = process.env;
const NAME = `Context7 MCP Server-${Date.now()}`;
const SETTLED = ["running", "stopped", "error_install", "error_runtime"];
const said = {};

const supabase = createClient(GATEWAY, "anon-key", {
  global: { fetch: browserFetch, headers: { Authorization: `Bearer ${TOKEN}` } },
  auth: { persistSession: false, autoRefreshToken: false },
});

/** By functions.invoke; what is not a success is the library's own error, its body the problem. */
async function invoke(name, path, options) {
  const { data, error } = await supabase.functions.invoke(path, options);
  const status = error ? error.context.status : 200;
  said[name] = { status, data: error ? await error.context.json() : data };
  return said[name].data;
}

/** By fetch, below the other prefix. */
async function plain(name, path, options = {}) {
  const headers = { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" };
  const answer = await browserFetch(`${GATEWAY}/api/${path}`, { ...options, headers });
  said[name] = { status: answer.status, data: await answer.json() };
  return said[name].data;
}

/** What is answered once it is so, asked for again and again as the frontend does. */
async function until(path, so) {
  let shown;
  for (let tries = 0; tries < 300; tries++) {
    shown = await supabase.functions.invoke(path, { method: "GET" });
    if (shown.data && so(shown.data)) return shown.data;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error(`${path} did not come to be as awaited: ${JSON.stringify(shown.data)}`);
}

const asAsked = (record) => record.generation === record.observed_generation;
const settled = (path) => until(path, (record) => SETTLED.includes(record.status_on_toolbox) && asAsked(record));

const act = (action, instanceId) => ({ body: { toolboxId: TOOLBOX, action, instanceId } });

await invoke("toolboxes", "toolboxes-user", { method: "GET" });
await invoke("toolbox", `toolboxes-user/${TOOLBOX}`, { method: "GET" });
await invoke("refreshed", `toolboxes-user/${TOOLBOX}/refresh-status`, { method: "POST" });
await invoke("nobody's", "toolboxes-user/99999999-9999-4999-8999-999999999999", { method: "GET" });
await invoke("regions", "digitalocean-options/regions", { method: "GET" });
await invoke("sizes", "digitalocean-options/sizes", { method: "GET" });
await plain("regions, plain", "digitalocean-options/regions");
await plain("toolboxes, plain", "toolboxes-user/");

// Its droplet boots while the other toolbox is worked.
const made = await invoke("provisioned", "toolboxes-user", {
  body: { name: NEW_TOOLBOX, regionSlug: "fra1", sizeSlug: "s-2vcpu-4gb" },
});

const tools = `toolbox-tools/${TOOLBOX}/tools`;
const nested = {
  dockerImage: IMAGE,
  environmentVariables: { FROM: "frontend" },
  portMappings: [{ containerPort: 3001, hostPort: 30000, protocol: "tcp" }],
  mcpTransport: "streamable-http",
  mcpEndpoint: "/mcp",
  mcpPort: 3001,
  mcpCapabilities: { tools: true },
  templateId: "everything",
};
const deployed = await invoke("deployed", tools, {
  body: { instanceNameOnToolbox: NAME, toolCatalogId: "catalogue-1", baseConfigOverrideJson: nested },
});
const one = `${tools}/${encodeURIComponent(NAME)}`;
said["running"] = { status: 200, data: await settled(one) };
await invoke("instances", tools, { method: "GET" });
await invoke("instance by id", `${tools}/${deployed.id}`, { method: "GET" });
await plain("instance by name, plain", one);
await invoke("overview", "toolbox-tools", { body: { toolboxId: TOOLBOX } });

await invoke("stopped by path", `${one}/stop`, { method: "POST" });
await invoke("started by path", `${one}/start`, { method: "POST" });
await settled(one);
await plain("restarted by path, plain", `${one}/restart`, { method: "POST" });
await settled(one);
await invoke("logs by path", `${one}/logs?tail=5`, { method: "GET" });

await invoke("stopped by action", "toolbox-tools", act("stop", deployed.id));
await invoke("started by action", "toolbox-tools", act("start", NAME));
await settled(one);
await plain("restarted by action, plain", "toolbox-tools/", {
  method: "POST",
  body: JSON.stringify(act("restart", deployed.id).body),
});
await settled(one);
await invoke("logs by action", "toolbox-tools", act("logs", deployed.id));
await invoke("an action on nothing", "toolbox-tools", act("start", "nobody"));

await invoke("console", "toolbox-dtma-console", { body: { toolboxId: TOOLBOX, action: "status" } });
await invoke("shim restarted", "toolbox-dtma-console", { body: { toolboxId: TOOLBOX, action: "restart" } });
await plain("console, plain", "toolbox-dtma-console", {
  method: "POST",
  body: JSON.stringify({ toolboxId: TOOLBOX, action: "status" }),
});
await invoke("deleted by action", "toolbox-tools", act("delete", deployed.id));
await invoke("deleted by path", one, { method: "DELETE" });

const box = `toolboxes-user/${made.id}`;
said["active"] = { status: 200, data: await until(box, (record) => record.status === "active" && asAsked(record)) };
await invoke("toolboxes with it", "toolboxes-user", { method: "GET" });
await invoke("deprovisioned", box, { method: "DELETE" });
await until("toolboxes-user", (records) => !records.some((record) => record.id === made.id));
await invoke("toolbox that is gone", box, { method: "GET" });

console.log(JSON.stringify({ name: NAME, said, preflights: [...new Set(preflights)] }));
