// Runs a program of WebAssembly that needs nothing of its host: `node run_wasm.mjs PROGRAM`. It ends with an error
// where the program panics.
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = {};
for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind !== "function") {
        throw new Error(`the program asks for the ${kind} ${from}.${name}`);
    }
    imports[from] ??= {};
    imports[from][name] = () => {
        throw new Error(`the program calls ${from}.${name}`);
    };
}
const { exports } = new WebAssembly.Instance(module, imports);
process.exitCode = exports.main(0, 0);
