// The existing frontend's calls, with the library that it uses and with plain fetch. Prints one JSON object: `answers`
// maps each call's name to its status and data, `preflights` lists the CORS preflight requests.

import { createClient } from "@supabase/supabase-js";
import { browserFetch, preflights } from "./browser.mjs";

const { GATEWAY, TOKEN, TOOLBOX, IMAGE, NEW_TOOLBOX } = process.env;
const NAME = `Context7 MCP Server-${Date.now()}`;
const SETTLED = ["running", "stopped", "error_install", "error_runtime"];
const answers = {};

const supabase = createClient(GATEWAY, "anon-key", {
  global: { fetch: browserFetch, headers: { Authorization: `Bearer ${TOKEN}` } },
  auth: { persistSession: false, autoRefreshToken: false },
});

/** Call by functions.invoke. The library raises an error for other statuses; its body is the problem document. */
async function invoke(name, path, options) {
  const { data, error } = await supabase.functions.invoke(path, options);
  const status = error ? error.context.status : 200;
  answers[name] = { status, data: error ? await error.context.json() : data };
  return answers[name].data;
}

/** Call by fetch, below the other prefix. */
async function plain(name, path, options = {}) {
  const headers = { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" };
  const answer = await browserFetch(`${GATEWAY}/api/${path}`, { ...options, headers });
  answers[name] = { status: answer.status, data: await answer.json() };
  return answers[name].data;
}

/** Poll `path`, as the frontend does, until `condition` holds for the answer; return that answer. */
async function until(path, condition) {
  let response;
  for (let tries = 0; tries < 300; tries++) {
    response = await supabase.functions.invoke(path, { method: "GET" });
    if (response.data && condition(response.data)) return response.data;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error(`${path} did not meet its condition; the last answer was ${JSON.stringify(response.data)}`);
}

const isReconciled = (record) => record.generation === record.observed_generation;
const settled = (path) => until(path, (record) => SETTLED.includes(record.status_on_toolbox) && isReconciled(record));

const act = (action, instanceId) => ({ body: { toolboxId: TOOLBOX, action, instanceId } });

await invoke("toolboxes", "toolboxes-user", { method: "GET" });
await invoke("toolbox", `toolboxes-user/${TOOLBOX}`, { method: "GET" });
await invoke("refreshed", `toolboxes-user/${TOOLBOX}/refresh-status`, { method: "POST" });
await invoke("unknown toolbox", "toolboxes-user/99999999-9999-4999-8999-999999999999", { method: "GET" });
await invoke("regions", "digitalocean-options/regions", { method: "GET" });
await invoke("sizes", "digitalocean-options/sizes", { method: "GET" });
await plain("regions, plain", "digitalocean-options/regions");
await plain("toolboxes, plain", "toolboxes-user/");

// The new droplet boots while the calls to the other toolbox are made.
const provisioned = await invoke("provisioned", "toolboxes-user", {
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
answers["running"] = { status: 200, data: await settled(one) };
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
await invoke("action on an unknown instance", "toolbox-tools", act("start", "nobody"));

await invoke("console", "toolbox-dtma-console", { body: { toolboxId: TOOLBOX, action: "status" } });
await invoke("shim restarted", "toolbox-dtma-console", { body: { toolboxId: TOOLBOX, action: "restart" } });
await plain("console, plain", "toolbox-dtma-console", {
  method: "POST",
  body: JSON.stringify({ toolboxId: TOOLBOX, action: "status" }),
});
await invoke("deleted by action", "toolbox-tools", act("delete", deployed.id));
await invoke("deleted by path", one, { method: "DELETE" });

const newToolbox = `toolboxes-user/${provisioned.id}`;
answers["active"] = { status: 200, data: await until(newToolbox, (record) => record.status === "active" && isReconciled(record)) };
await invoke("toolboxes with it", "toolboxes-user", { method: "GET" });
await invoke("deprovisioned", newToolbox, { method: "DELETE" });
await until("toolboxes-user", (records) => !records.some((record) => record.id === provisioned.id));
await invoke("deprovisioned toolbox", newToolbox, { method: "GET" });

console.log(JSON.stringify({ name: NAME, answers, preflights: [...new Set(preflights)] }));
