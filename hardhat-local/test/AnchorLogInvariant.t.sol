// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorLog} from "../contracts/AnchorLog.sol";
import {SlowTree} from "./support/SlowTree.sol";
import {vm} from "./support/Vm.sol";

/// @dev Three publishers who anchor one log honestly under two origins, and who lie in between. It remembers what each
/// head must be; the contract is asked only when an invariant is checked. Surprises are counted and never reverted: a
/// revert here would undo the very thing that went wrong.
contract Publishers {
    uint64 public constant LIMIT = 64;
    bytes32[2] public ORIGINS = [sha256("one.example/log"), sha256("two.example/log")];
    address[3] public PUBLISHERS = [address(0xA11CE), address(0xB0B), address(0xCA401)];

    AnchorLog public immutable log;
    bytes32[] public d;
    mapping(address => mapping(bytes32 => uint64)) public expected;
    uint256 public refusedTruths;
    uint256 public acceptedLies;

    constructor(AnchorLog log_) {
        log = log_;
        d = SlowTree.leaves("invariant", LIMIT);
    }

    function root(uint64 size) public view returns (bytes32) {
        return size == 0 ? bytes32(0) : SlowTree.root(d, size);
    }

    /// @dev The head grows by `step`, with the proof that is due.
    function grow(uint8 who, uint8 which, uint8 step) external {
        address publisher = PUBLISHERS[who % 3];
        bytes32 origin = ORIGINS[which % 2];
        uint64 old = expected[publisher][origin];
        if (old == LIMIT) return;
        uint64 size = old + 1 + uint64(step) % (LIMIT - old) % 8;
        bytes32[] memory proof = old == 0 ? new bytes32[](0) : SlowTree.proof(d, old, size);
        // Before the prank: it holds for the next call, and sha256 is a call.
        bytes32 next = root(size);
        vm.prank(publisher);
        try log.anchor(origin, size, next, proof) {
            expected[publisher][origin] = size;
        } catch {
            ++refusedTruths;
        }
    }

    /// @dev The head grows with the proof that is due, to a root that is not the log's.
    function fork(uint8 who, uint8 which, uint8 step, bytes32 flipped) external {
        address publisher = PUBLISHERS[who % 3];
        bytes32 origin = ORIGINS[which % 2];
        uint64 old = expected[publisher][origin];
        if (old == 0 || old == LIMIT || flipped == 0) return;
        uint64 size = old + 1 + uint64(step) % (LIMIT - old);
        bytes32[] memory proof = SlowTree.proof(d, old, size);
        bytes32 other = root(size) ^ flipped;
        vm.prank(publisher);
        try log.anchor(origin, size, other, proof) {
            ++acceptedLies;
        } catch {}
    }

    /// @dev A head that does not follow: of any size, with any proof.
    function lie(uint8 who, uint8 which, uint64 size, bytes32 claimed, bytes32[] calldata proof) external {
        address publisher = PUBLISHERS[who % 3];
        bytes32 origin = ORIGINS[which % 2];
        if (expected[publisher][origin] == 0) return; // a first anchor may say anything
        vm.prank(publisher);
        try log.anchor(origin, size, claimed, proof) {
            ++acceptedLies;
        } catch {}
    }

    /// @dev The head goes back, or stays, with the roots and proofs of the true log.
    function shrink(uint8 who, uint8 which, uint8 back) external {
        address publisher = PUBLISHERS[who % 3];
        bytes32 origin = ORIGINS[which % 2];
        uint64 old = expected[publisher][origin];
        if (old == 0) return;
        uint64 size = old - uint64(back) % old;
        bytes32[] memory proof = size == old ? new bytes32[](0) : SlowTree.proof(d, size, old);
        bytes32 past = root(size);
        vm.prank(publisher);
        try log.anchor(origin, size, past, proof) {
            ++acceptedLies;
        } catch {}
    }
}

/// @dev Whatever is sent in whatever order, each head is the true head of its own publisher and origin.
contract AnchorLogInvariantTest {
    AnchorLog private log;
    Publishers private publishers;

    function setUp() public {
        log = new AnchorLog();
        publishers = new Publishers(log);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(publishers);
    }

    function invariant_noTruthIsRefused() public view {
        require(publishers.refusedTruths() == 0, "a true head was refused");
    }

    function invariant_noLieIsAccepted() public view {
        require(publishers.acceptedLies() == 0, "a lie was accepted");
    }

    function invariant_eachHeadIsTrue() public view {
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < 2; ++j) {
                address publisher = publishers.PUBLISHERS(i);
                bytes32 origin = publishers.ORIGINS(j);
                uint64 expected = publishers.expected(publisher, origin);
                (uint64 size, bytes32 root) = log.head(publisher, origin);
                require(size == expected, "size");
                require(root == publishers.root(expected), "root");
            }
        }
    }
}
