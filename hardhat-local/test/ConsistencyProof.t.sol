// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAnchorLog} from "../contracts/interfaces/IAnchorLog.sol";
import {ConsistencyProof} from "../contracts/libraries/ConsistencyProof.sol";
import {EqualTree} from "./support/EqualTree.sol";
import {SlowTree} from "./support/SlowTree.sol";

/// @dev Opens the library's functions, so that a test can catch what they revert with.
contract OpenConsistencyProof {
    function verify(uint64 first, bytes32 firstRoot, uint64 second, bytes32 secondRoot, bytes32[] calldata proof)
        external
        view
    {
        ConsistencyProof.verify(first, firstRoot, second, secondRoot, proof);
    }

    function node(bytes32 left, bytes32 right) external view returns (bytes32) {
        return ConsistencyProof.node(left, right);
    }

    /// @dev node() must leave the memory of its caller alone.
    function nodeBesideMemory(bytes32 left, bytes32 right) external view returns (bytes memory before, bytes32 digest) {
        before = abi.encode(left, right);
        digest = ConsistencyProof.node(left, right);
        bytes memory later = abi.encode(digest); // taken after the call
        require(abi.decode(later, (bytes32)) == digest, "memory taken later");
    }
}

/// @dev The verifier against known answers, against the slow reference, and against damaged proofs.
contract ConsistencyProofTest {
    OpenConsistencyProof private open;

    function setUp() public {
        open = new OpenConsistencyProof();
    }

    // -- known answers: the eight leaves, roots and proofs of the Certificate Transparency test data

    function ctLeaves() private pure returns (bytes32[] memory d) {
        d = new bytes32[](8);
        d[0] = SlowTree.leaf("");
        d[1] = SlowTree.leaf(hex"00");
        d[2] = SlowTree.leaf(hex"10");
        d[3] = SlowTree.leaf(hex"2021");
        d[4] = SlowTree.leaf(hex"3031");
        d[5] = SlowTree.leaf(hex"40414243");
        d[6] = SlowTree.leaf(hex"5051525354555657");
        d[7] = SlowTree.leaf(hex"606162636465666768696a6b6c6d6e6f");
    }

    function ctRoots() private pure returns (bytes32[9] memory r) {
        r[1] = 0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d;
        r[2] = 0xfac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125;
        r[3] = 0xaeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77;
        r[4] = 0xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7;
        r[5] = 0x4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4;
        r[6] = 0x76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef;
        r[7] = 0xddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c;
        r[8] = 0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328;
    }

    function test_referenceGivesTheKnownRoots() public pure {
        bytes32[9] memory r = ctRoots();
        for (uint256 n = 1; n <= 8; ++n) {
            require(SlowTree.root(ctLeaves(), n) == r[n], "known root");
        }
    }

    function test_knownProofs() public view {
        bytes32[9] memory r = ctRoots();
        bytes32[] memory p = new bytes32[](3);
        p[0] = 0x96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7;
        p[1] = 0x5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e;
        p[2] = 0x6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4;
        open.verify(1, r[1], 8, r[8], p);
        p[0] = 0x0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a;
        p[1] = 0xca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0;
        p[2] = 0xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7;
        open.verify(6, r[6], 8, r[8], p);
        p = new bytes32[](2);
        p[0] = 0x5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e;
        p[1] = 0xbc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b;
        open.verify(2, r[2], 5, r[5], p);
    }

    function test_largeKnownTree() public pure {
        // Equal leaves are a tree like any other: the short way gives what the slow reference gives.
        bytes32[64] memory full = EqualTree.fulls();
        bytes32[] memory d = new bytes32[](40);
        for (uint256 i = 0; i < 40; ++i) {
            d[i] = SlowTree.leaf("equal");
        }
        for (uint256 n = 2; n <= 40; ++n) {
            require(EqualTree.root(full, n) == SlowTree.root(d, n), "root");
            for (uint256 m = 1; m < n; m += 3) {
                require(
                    keccak256(abi.encode(EqualTree.proof(full, m, n))) == keccak256(abi.encode(SlowTree.proof(d, m, n))),
                    "proof"
                );
            }
        }
    }

    // -- what holds is accepted

    function test_allPairsOfSmallSizes() public view {
        bytes32[] memory d = SlowTree.leaves("small", 18);
        for (uint64 second = 2; second <= 18; ++second) {
            bytes32 secondRoot = SlowTree.root(d, second);
            for (uint64 first = 1; first < second; ++first) {
                open.verify(first, SlowTree.root(d, first), second, secondRoot, SlowTree.proof(d, first, second));
            }
        }
    }

    function testFuzz_acceptsWhatTheReferenceProves(uint8 a, uint8 b, bytes32 seed) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves(seed, second);
        open.verify(
            first, SlowTree.root(d, first), second, SlowTree.root(d, second), SlowTree.proof(d, first, second)
        );
    }

    function testFuzz_acceptsAny64BitSizes(uint64 a, uint64 b) public view {
        if (a == b) a ^= 1;
        (uint64 first, uint64 second) = a < b ? (a, b) : (b, a);
        if (first == 0) first = 1;
        if (second == first) ++second;
        bytes32[64] memory full = EqualTree.fulls();
        open.verify(
            first, EqualTree.root(full, first), second, EqualTree.root(full, second), EqualTree.proof(full, first, second)
        );
    }

    // -- what does not hold is refused, with the error that says why

    function testFuzz_refusesAFlippedBit(uint8 a, uint8 b, uint256 where, uint8 bit) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves("flip", second);
        bytes32[] memory proof = SlowTree.proof(d, first, second);
        bytes32 firstRoot = SlowTree.root(d, first);
        bytes32 secondRoot = SlowTree.root(d, second);
        bytes32 mask = bytes32(uint256(1) << bit);
        where %= proof.length + 2;
        if (where == proof.length) firstRoot ^= mask;
        else if (where == proof.length + 1) secondRoot ^= mask;
        else proof[where] ^= mask;
        refused(first, firstRoot, second, secondRoot, proof, IAnchorLog.WrongProof.selector);
    }

    function testFuzz_refusesATruncatedProof(uint8 a, uint8 b) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves("short", second);
        bytes32[] memory proof = SlowTree.proof(d, first, second);
        while (proof.length != 0) {
            proof = SlowTree.shorten(proof);
            refused(
                first,
                SlowTree.root(d, first),
                second,
                SlowTree.root(d, second),
                proof,
                IAnchorLog.ProofTooShort.selector
            );
        }
    }

    function testFuzz_refusesALongerProof(uint8 a, uint8 b, bytes32 more) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves("long", second);
        refused(
            first,
            SlowTree.root(d, first),
            second,
            SlowTree.root(d, second),
            SlowTree.append(SlowTree.proof(d, first, second), more),
            IAnchorLog.ProofTooLong.selector
        );
    }

    function testFuzz_refusesSwappedHashes(uint8 a, uint8 b, uint256 where) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves("swap", second);
        bytes32[] memory proof = SlowTree.proof(d, first, second);
        if (proof.length < 2) return;
        where %= proof.length - 1;
        (proof[where], proof[where + 1]) = (proof[where + 1], proof[where]);
        refused(
            first, SlowTree.root(d, first), second, SlowTree.root(d, second), proof, IAnchorLog.WrongProof.selector
        );
    }

    function testFuzz_refusesAnotherPast(uint8 a, uint8 b, uint256 changed) public view {
        (uint64 first, uint64 second) = sizes(a, b);
        bytes32[] memory d = SlowTree.leaves("past", second);
        bytes32 firstRoot = SlowTree.root(d, first);
        d[changed % first] = SlowTree.leaf("changed");
        refused(
            first,
            firstRoot,
            second,
            SlowTree.root(d, second),
            SlowTree.proof(d, first, second),
            IAnchorLog.WrongProof.selector
        );
    }

    // -- what a proof does not say

    function test_sizesAreTakenFromTheCaller() public view {
        // 4 -> 5 and 4 -> 6 have one shape: the new root proves the old tree inside it, not its own number of leaves.
        bytes32[] memory d = SlowTree.leaves("shape", 6);
        open.verify(4, SlowTree.root(d, 4), 6, SlowTree.root(d, 6), SlowTree.proof(d, 4, 6));
        open.verify(4, SlowTree.root(d, 4), 5, SlowTree.root(d, 6), SlowTree.proof(d, 4, 6));
    }

    // -- the node hash

    function testFuzz_nodeIsSha256(bytes32 left, bytes32 right) public view {
        bytes32 expected = sha256(abi.encodePacked(bytes1(0x01), left, right));
        require(open.node(left, right) == expected, "digest");
        (bytes memory before, bytes32 digest) = open.nodeBesideMemory(left, right);
        require(digest == expected, "digest beside memory");
        require(keccak256(before) == keccak256(abi.encode(left, right)), "memory taken before");
    }

    // -- steps

    /// @dev Two sizes with 0 < first < second <= 96.
    function sizes(uint8 a, uint8 b) private pure returns (uint64 first, uint64 second) {
        second = 2 + uint64(b) % 95;
        first = 1 + uint64(a) % (second - 1);
    }

    function refused(
        uint64 first,
        bytes32 firstRoot,
        uint64 second,
        bytes32 secondRoot,
        bytes32[] memory proof,
        bytes4 selector
    ) private view {
        try open.verify(first, firstRoot, second, secondRoot, proof) {
            revert("was accepted");
        } catch (bytes memory got) {
            require(bytes4(got) == selector, "another reason");
        }
    }
}
