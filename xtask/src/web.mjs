// Runs a test binary of wasm32-unknown-unknown. It prints nothing, as there is no output on this target; a test that
// fails ends in a trap.
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
// What the tests never call, such as the random numbers of a browser.
const imports = {};
for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
  if (kind !== "function") {
    throw new Error(`the import ${from}.${name} is a ${kind}`);
  }
  imports[from] ??= {};
  imports[from][name] = () => {
    throw new Error(`${from}.${name} was called`);
  };
}
const { exports } = new WebAssembly.Instance(module, imports);
const status = exports.main(0, 0);
console.log(`${process.argv[2]}: ${status === 0 ? "passed" : `ended with ${status}`}`);
process.exitCode = status;
