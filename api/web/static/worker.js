// Hashes one file beside the page, so that the page stays alive; says {progress}, then {digest} or {error}.

import { hashBlob } from "./sha256.js";

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ digest: await hashBlob(data, { progress: (progress) => self.postMessage({ progress }) }) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
