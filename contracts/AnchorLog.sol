// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAnchorLog} from "./interfaces/IAnchorLog.sol";
import {ConsistencyProof} from "./libraries/ConsistencyProof.sol";

/// @title The anchor contract: heads of append-only logs that can only grow.
/// @dev Two storage slots per (publisher, origin). It calls nothing but the SHA-256 precompile, holds no money and knows
/// no time: the block that carries the event is the time.
contract AnchorLog is IAnchorLog {
    struct Head {
        uint64 size;
        bytes32 root;
    }

    mapping(address publisher => mapping(bytes32 origin => Head)) private _heads;

    /// @inheritdoc IAnchorLog
    function anchor(bytes32 origin, uint64 size, bytes32 root, bytes32[] calldata consistency) external {
        if (size == 0) revert EmptyTree();
        Head storage stored = _heads[msg.sender][origin];
        uint64 oldSize = stored.size;
        if (oldSize == 0) {
            if (consistency.length != 0) revert FirstAnchorWithProof(consistency.length);
        } else {
            bytes32 oldRoot = stored.root;
            if (size < oldSize) revert SizeBelowHead(oldSize, size);
            if (size == oldSize) {
                if (root == oldRoot) revert AlreadyAnchored(size);
                revert ForkedRoot(size, oldRoot, root);
            }
            ConsistencyProof.verify(oldSize, oldRoot, size, root, consistency);
        }
        stored.size = size;
        stored.root = root;
        emit Anchored(msg.sender, origin, size, root);
    }

    /// @inheritdoc IAnchorLog
    function head(address publisher, bytes32 origin) external view returns (uint64 size, bytes32 root) {
        Head storage stored = _heads[publisher][origin];
        return (stored.size, stored.root);
    }
}
