// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev The slow reference: RFC 9162, sections 2.1.1 and 2.1.4.1, word for word, with Solidity's own `sha256`.
/// It shares no line with the contracts.
library SlowTree {
    function leaf(bytes memory data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), data));
    }

    function inner(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }

    /// @dev Leaf hashes of a log of `size` different leaves.
    function leaves(bytes32 seed, uint256 size) internal pure returns (bytes32[] memory out) {
        out = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            out[i] = leaf(abi.encode(seed, i));
        }
    }

    /// @dev The largest power of two smaller than n (n > 1).
    function split(uint256 n) internal pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }

    /// @dev MTH(D[from:to]) over leaf hashes, from < to.
    function root(bytes32[] memory d, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return d[from];
        uint256 k = split(to - from);
        return inner(root(d, from, from + k), root(d, from + k, to));
    }

    function root(bytes32[] memory d, uint256 size) internal pure returns (bytes32) {
        return root(d, 0, size);
    }

    /// @dev PROOF(m, D[0:n]), 0 < m < n.
    function proof(bytes32[] memory d, uint256 m, uint256 n) internal pure returns (bytes32[] memory) {
        return subproof(d, m, 0, n, true);
    }

    /// @dev SUBPROOF(m, D[from:to], b).
    function subproof(bytes32[] memory d, uint256 m, uint256 from, uint256 to, bool b)
        private
        pure
        returns (bytes32[] memory)
    {
        uint256 n = to - from;
        if (m == n) return b ? new bytes32[](0) : append(new bytes32[](0), root(d, from, to));
        uint256 k = split(n);
        if (m <= k) return append(subproof(d, m, from, from + k, b), root(d, from + k, to));
        return append(subproof(d, m - k, from + k, to, false), root(d, from, from + k));
    }

    /// @dev `path` and one more hash.
    function append(bytes32[] memory path, bytes32 last) internal pure returns (bytes32[] memory out) {
        out = new bytes32[](path.length + 1);
        for (uint256 i = 0; i < path.length; ++i) {
            out[i] = path[i];
        }
        out[path.length] = last;
    }

    /// @dev `path` without its last hash.
    function shorten(bytes32[] memory path) internal pure returns (bytes32[] memory out) {
        out = new bytes32[](path.length - 1);
        for (uint256 i = 0; i < out.length; ++i) {
            out[i] = path[i];
        }
    }
}
