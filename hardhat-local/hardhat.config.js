// Hardhat, set up to work offline: the compiler is the npm package `solc`, never a download.
import { createRequire } from "node:module";
import { defineConfig } from "hardhat/config";

const require = createRequire(import.meta.url);

export default defineConfig({
  solidity: {
    version: "0.8.37",
    path: require.resolve("solc/soljson.js"),
    // cancun: the newest fork that every chain in use here runs (the embedded one stops at Prague).
    settings: { optimizer: { enabled: true, runs: 200 }, evmVersion: "cancun" },
  },
  // contracts is a link: Hardhat refuses sources that lie outside its own folder.
  paths: { sources: "contracts", tests: { solidity: "test" } },
  test: { solidity: { fuzz: { runs: 256 }, invariant: { runs: 16, depth: 24 } } },
});
