// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAnchorLog} from "../interfaces/IAnchorLog.sol";

/// @title Verification of consistency proofs between two Merkle tree heads (RFC 9162, section 2.1.4.2).
/// @dev Pure: no storage. Hashes are SHA-256, an inner node is SHA-256(0x01 || left || right). Leaves are never seen,
/// so a proof ties the roots together and not the sizes to them: several sizes share one shape of proof. Sizes are what
/// the log signed in its checkpoints.
library ConsistencyProof {
    /// @notice Reverts unless the tree (second, secondRoot) is an extension of the tree (first, firstRoot).
    /// @dev The letters fn, sn, fr, sr and the step numbers are those of the RFC.
    /// @param first Leaves of the old tree; the caller has checked 0 < first < second.
    /// @param firstRoot Root of the old tree.
    /// @param second Leaves of the new tree.
    /// @param secondRoot Root of the new tree.
    /// @param proof The proof, in the order of the RFC.
    function verify(uint64 first, bytes32 firstRoot, uint64 second, bytes32 secondRoot, bytes32[] calldata proof)
        internal
        view
    {
        uint256 length = proof.length;
        // 1. The path between two different sizes is never empty.
        if (length == 0) revert IAnchorLog.ProofTooShort(length);

        uint256 fn;
        uint256 sn;
        // unchecked: the caller has checked 0 < first < second, so neither subtraction passes below 0.
        unchecked {
            fn = uint256(first) - 1; // 3.
            sn = uint256(second) - 1;
        }
        // 4. Up to the largest full subtree at the end of the old tree.
        while (fn & 1 == 1) {
            fn >>= 1;
            sn >>= 1;
        }

        // 2. and 5. fn is 0 now exactly if `first` is a power of two; then the old root itself stands before the path.
        uint256 next = fn == 0 ? 0 : 1;
        bytes32 fr = fn == 0 ? firstRoot : proof[0];
        bytes32 sr = fr;

        // 6. One level per hash.
        while (next < length) {
            if (sn == 0) revert IAnchorLog.ProofTooLong(length); // 6.1
            bytes32 c = proof[next];
            if (fn & 1 == 1 || fn == sn) {
                fr = node(c, fr); // 6.2
                sr = node(c, sr);
                while (fn & 1 == 0 && fn != 0) {
                    fn >>= 1;
                    sn >>= 1;
                }
            } else {
                sr = node(sr, c); // 6.3
            }
            fn >>= 1; // 6.4
            sn >>= 1;
            // unchecked: next < length, so the sum fits.
            unchecked {
                ++next;
            }
        }

        // 7.
        if (sn != 0) revert IAnchorLog.ProofTooShort(length);
        if (fr != firstRoot || sr != secondRoot) revert IAnchorLog.WrongProof(fr, sr);
    }

    /// @notice Returns SHA-256(0x01 || left || right).
    /// @dev By hand, because `sha256(abi.encodePacked(...))` takes new memory for each node. The 65 bytes lie beyond the
    /// free memory pointer, which Solidity leaves to anybody for a moment; the digest lands in scratch space.
    function node(bytes32 left, bytes32 right) internal view returns (bytes32 digest) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 0x01)
            mstore(add(at, 0x01), left)
            mstore(add(at, 0x21), right)
            let done := staticcall(gas(), 0x02, at, 0x41, 0x00, 0x20)
            // Out of gas, or a chain without the precompile (such a call succeeds and returns nothing).
            if iszero(and(done, eq(returndatasize(), 0x20))) { revert(0x00, 0x00) }
            digest := mload(0x00)
        }
    }
}
