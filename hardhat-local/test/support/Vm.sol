// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev The cheat codes used here, at the address where Hardhat and Foundry answer them.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function prank(address sender) external;
    function deal(address who, uint256 balance) external;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory logs);
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
