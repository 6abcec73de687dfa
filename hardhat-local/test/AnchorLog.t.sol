// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AnchorLog} from "../contracts/AnchorLog.sol";
import {IAnchorLog} from "../contracts/interfaces/IAnchorLog.sol";
import {SlowTree} from "./support/SlowTree.sol";
import {vm, Vm} from "./support/Vm.sol";

/// @dev The rules of a head: what is stored, what is said, who may, and one refusal per error.
contract AnchorLogTest {
    // Immutable, not constant: a constant is computed where it stands, and sha256 is a call that would use up a prank.
    bytes32 private immutable ORIGIN = sha256("registry.example/log");
    bytes32 private immutable OTHER = sha256("other.example/log");
    address private constant ALICE = address(0xA11CE);
    address private constant BOB = address(0xB0B);

    AnchorLog private log;
    bytes32[] private d;
    bytes32[] private none;

    function setUp() public {
        log = new AnchorLog();
        d = SlowTree.leaves("log", 16);
    }

    // -- what an anchor does

    function test_noHeadAtFirst() public view {
        expectHead(ALICE, ORIGIN, 0, 0);
    }

    function test_firstAnchorTakesAnySize() public {
        anchor(ALICE, ORIGIN, 7);
        expectHead(ALICE, ORIGIN, 7, SlowTree.root(d, 7));
    }

    function test_firstAnchorTakesTheLargestSize() public {
        vm.prank(ALICE);
        log.anchor(ORIGIN, type(uint64).max, bytes32(uint256(1)), none);
        expectHead(ALICE, ORIGIN, type(uint64).max, bytes32(uint256(1)));
    }

    function test_headFollowsEachAnchor() public {
        for (uint64 size = 1; size <= 16; ++size) {
            anchor(ALICE, ORIGIN, size);
            expectHead(ALICE, ORIGIN, size, SlowTree.root(d, size));
        }
    }

    function test_eachAnchorIsOneEvent() public {
        anchor(ALICE, ORIGIN, 3);
        vm.recordLogs();
        anchor(ALICE, ORIGIN, 8);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        require(logs.length == 1, "one event");
        require(logs[0].emitter == address(log), "emitter");
        require(logs[0].topics.length == 3, "topics");
        require(logs[0].topics[0] == keccak256("Anchored(address,bytes32,uint64,bytes32)"), "event");
        require(logs[0].topics[1] == bytes32(uint256(uint160(ALICE))), "publisher");
        require(logs[0].topics[2] == ORIGIN, "origin");
        require(keccak256(logs[0].data) == keccak256(abi.encode(uint64(8), SlowTree.root(d, 8))), "size, root");
    }

    // -- whose head it is

    function test_strangersDoNotMatter() public {
        // Somebody else takes the origin first, with a size no honest log will reach.
        vm.prank(BOB);
        log.anchor(ORIGIN, type(uint64).max, bytes32(uint256(1)), none);
        anchor(ALICE, ORIGIN, 5);
        anchor(ALICE, ORIGIN, 9);
        expectHead(ALICE, ORIGIN, 9, SlowTree.root(d, 9));
        expectHead(BOB, ORIGIN, type(uint64).max, bytes32(uint256(1)));
    }

    function test_publishersOfOneOriginAreApart() public {
        anchor(ALICE, ORIGIN, 5);
        anchor(BOB, ORIGIN, 3);
        anchor(BOB, ORIGIN, 4);
        expectHead(ALICE, ORIGIN, 5, SlowTree.root(d, 5));
        expectHead(BOB, ORIGIN, 4, SlowTree.root(d, 4));
    }

    function test_originsOfOnePublisherAreApart() public {
        anchor(ALICE, ORIGIN, 5);
        anchor(ALICE, OTHER, 3);
        expectHead(ALICE, ORIGIN, 5, SlowTree.root(d, 5));
        expectHead(ALICE, OTHER, 3, SlowTree.root(d, 3));
    }

    // -- what is refused, each with its error, the head staying as it was

    function test_refusesTheEmptyTree() public {
        bytes memory reason = abi.encodeWithSelector(IAnchorLog.EmptyTree.selector);
        refused(0, sha256(""), none, reason); // before any head
        anchor(ALICE, ORIGIN, 6);
        refused(0, sha256(""), none, reason); // and beside one
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesAFirstAnchorWithProof() public {
        bytes32[] memory proof = SlowTree.proof(d, 3, 7);
        refused(
            7,
            SlowTree.root(d, 7),
            proof,
            abi.encodeWithSelector(IAnchorLog.FirstAnchorWithProof.selector, proof.length)
        );
        expectHead(ALICE, ORIGIN, 0, 0);
    }

    function test_refusesASmallerSize() public {
        anchor(ALICE, ORIGIN, 6);
        refused(
            5,
            SlowTree.root(d, 5),
            SlowTree.proof(d, 5, 6),
            abi.encodeWithSelector(IAnchorLog.SizeBelowHead.selector, uint64(6), uint64(5))
        );
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesTheSameHeadTwice() public {
        anchor(ALICE, ORIGIN, 6);
        refused(6, SlowTree.root(d, 6), none, abi.encodeWithSelector(IAnchorLog.AlreadyAnchored.selector, uint64(6)));
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesAnotherRootAtTheSameSize() public {
        anchor(ALICE, ORIGIN, 6);
        bytes32 other = SlowTree.root(SlowTree.leaves("fork", 6), 6);
        refused(
            6,
            other,
            none,
            abi.encodeWithSelector(IAnchorLog.ForkedRoot.selector, uint64(6), SlowTree.root(d, 6), other)
        );
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesGrowthWithoutProof() public {
        anchor(ALICE, ORIGIN, 6);
        refused(
            8, SlowTree.root(d, 8), none, abi.encodeWithSelector(IAnchorLog.ProofTooShort.selector, uint256(0))
        );
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesAFork() public {
        anchor(ALICE, ORIGIN, 6);
        // A log that is consistent in itself, with another past.
        bytes32[] memory fork = SlowTree.leaves("fork", 8);
        refused(
            8,
            SlowTree.root(fork, 8),
            SlowTree.proof(fork, 6, 8),
            abi.encodeWithSelector(IAnchorLog.WrongProof.selector, SlowTree.root(fork, 6), SlowTree.root(fork, 8))
        );
        expectHead(ALICE, ORIGIN, 6, SlowTree.root(d, 6));
    }

    function test_refusesOtherCalls() public {
        vm.deal(address(this), 1 ether);
        (bool paid,) = address(log).call{value: 1}("");
        require(!paid, "takes money");
        (paid,) = address(log).call{value: 1}(abi.encodeCall(log.anchor, (ORIGIN, 1, ORIGIN, none)));
        require(!paid, "takes money with an anchor");
        (bool known,) = address(log).call(hex"deadbeef");
        require(!known, "answers an unknown function");
        (bool wide,) = address(log).call(
            abi.encodeWithSelector(IAnchorLog.anchor.selector, ORIGIN, uint256(1) << 64, ORIGIN, none)
        );
        require(!wide, "takes a size beyond 64 bits");
    }

    // -- steps

    /// @dev Anchors the first `size` leaves, with the proof that is due.
    function anchor(address publisher, bytes32 origin, uint64 size) private {
        (uint64 old,) = log.head(publisher, origin);
        bytes32[] memory proof = old == 0 ? none : SlowTree.proof(d, old, size);
        // Before the prank, for the same reason.
        bytes32 root = SlowTree.root(d, size);
        vm.prank(publisher);
        log.anchor(origin, size, root, proof);
    }

    /// @dev Alice's anchor reverts with exactly `reason`.
    function refused(uint64 size, bytes32 root, bytes32[] memory proof, bytes memory reason) private {
        vm.prank(ALICE);
        try log.anchor(ORIGIN, size, root, proof) {
            revert("was accepted");
        } catch (bytes memory got) {
            require(keccak256(got) == keccak256(reason), "another reason");
        }
    }

    function expectHead(address publisher, bytes32 origin, uint64 size, bytes32 root) private view {
        (uint64 gotSize, bytes32 gotRoot) = log.head(publisher, origin);
        require(gotSize == size, "size of the head");
        require(gotRoot == root, "root of the head");
    }
}
