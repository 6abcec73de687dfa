// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SlowTree} from "./SlowTree.sol";

/// @dev Trees of any 64-bit size, all leaves equal: a full subtree is known by its height, so nothing is built.
library EqualTree {
    /// @dev Roots of the full subtrees by height: full[h] covers 2^h leaves.
    function fulls() internal pure returns (bytes32[64] memory full) {
        full[0] = SlowTree.leaf("equal");
        for (uint256 h = 1; h < 64; ++h) {
            full[h] = SlowTree.inner(full[h - 1], full[h - 1]);
        }
    }

    function height(uint256 n) private pure returns (uint256 h) {
        while (1 << (h + 1) < n) ++h;
    }

    /// @dev MTH of n > 0 equal leaves.
    function root(bytes32[64] memory full, uint256 n) internal pure returns (bytes32) {
        if (n == 1) return full[0];
        uint256 h = height(n);
        return SlowTree.inner(full[h], root(full, n - (1 << h)));
    }

    /// @dev PROOF(m, n), 0 < m < n.
    function proof(bytes32[64] memory full, uint256 m, uint256 n) internal pure returns (bytes32[] memory) {
        return subproof(full, m, n, true);
    }

    function subproof(bytes32[64] memory full, uint256 m, uint256 n, bool b) private pure returns (bytes32[] memory) {
        if (m == n) return b ? new bytes32[](0) : SlowTree.append(new bytes32[](0), root(full, n));
        uint256 k = 1 << height(n);
        if (m <= k) return SlowTree.append(subproof(full, m, k, b), root(full, n - k));
        return SlowTree.append(subproof(full, m - k, n - k, false), root(full, k));
    }
}
