// Writes the artifact that ships: ABI, bytecode, how it was compiled and from which sources.
//
//   node scripts/export.mjs [folder]      (default: ../anchors/abi; `npm run export` builds first)
//
// The file is canonical JSON (RFC 8785) and a final newline, so that the same sources give the same bytes.
// Deploying and calling need this file only; `sources` lets a test without a compiler notice a contract that was
// changed and not exported.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

const CONTRACT = "AnchorLog";

const here = path.dirname(import.meta.dirname);
const folder = path.resolve(process.argv[2] ?? path.join(here, "../anchors/abi"));

async function json(...parts) {
  return JSON.parse(await readFile(path.join(here, "artifacts", ...parts), "utf8"));
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

const artifact = await json("contracts", `${CONTRACT}.sol`, `${CONTRACT}.json`);
const build = await json("build-info", `${artifact.buildInfoId}.json`);
const { outputSelection: _, ...settings } = build.input.settings;

const sources = {};
for (const [name, { content }] of Object.entries(build.input.sources)) {
  const file = name.replace(/^project\//, "");
  // A build that took in the tests: the bytecode would depend on them being there.
  if (!file.startsWith("contracts/")) throw new Error(`${file}: not a contract; build with --no-tests --force`);
  const bytes = await readFile(path.join(here, file));
  // The build could be older than the file; its own text is what was compiled.
  if (bytes.toString("utf8") !== content) throw new Error(`${file}: changed since the build; use npm run export`);
  sources[file] = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

const out = {
  contractName: artifact.contractName,
  abi: artifact.abi,
  bytecode: artifact.bytecode,
  deployedBytecode: artifact.deployedBytecode,
  compiler: { version: build.solcLongVersion, settings },
  sources,
};
await mkdir(folder, { recursive: true });
const target = path.join(folder, `${CONTRACT}.json`);
await writeFile(target, JSON.stringify(sorted(out)) + "\n");
console.log(target);
