// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The public face of the anchor contract: its errors, its event, its functions.
/// @notice Keeps the latest head of each append-only log, one per (publisher, origin), and refuses every head that is
/// not an extension of the one before (docs/format.md, section 5).
/// @dev A head is the pair (size, root): `size` counts leaves, `root` is the RFC 9162 Merkle tree hash (SHA-256) over
/// them. The publisher is the sender: nobody can write, block or move the head of another. There is no owner, no
/// pause, no upgrade and no way to take a head back.
interface IAnchorLog {
    /// @notice A head was stored; these events are the only history there is.
    /// @param publisher The sender of the anchor.
    /// @param origin SHA-256 of the log's origin text.
    /// @param size Leaves under `root`; grows with each event of the same publisher and origin.
    /// @param root RFC 9162 tree hash of the first `size` leaves.
    event Anchored(address indexed publisher, bytes32 indexed origin, uint64 size, bytes32 root);

    /// @notice `size` is 0: an empty tree says nothing and is never anchored.
    error EmptyTree();

    /// @notice A first anchor has nothing to be consistent with, so its proof must be empty.
    /// @param length Hashes that were given.
    error FirstAnchorWithProof(uint256 length);

    /// @notice The log would shrink.
    /// @param head Size stored.
    /// @param size Size that was given.
    error SizeBelowHead(uint64 head, uint64 size);

    /// @notice Exactly this head is stored already; nothing is left to do.
    /// @param size Size stored and given.
    error AlreadyAnchored(uint64 size);

    /// @notice The size is stored already, with another root: two logs under one name.
    /// @param size Size stored and given.
    /// @param head Root stored.
    /// @param root Root that was given.
    error ForkedRoot(uint64 size, bytes32 head, bytes32 root);

    /// @notice The consistency proof ends before it reaches the root.
    /// @param length Hashes that were given.
    error ProofTooShort(uint256 length);

    /// @notice The consistency proof goes on after it has reached the root.
    /// @param length Hashes that were given.
    error ProofTooLong(uint256 length);

    /// @notice The consistency proof has the right length and leads to other roots.
    /// @param impliedHead Root at the stored size that follows from the proof.
    /// @param impliedRoot Root at the given size that follows from the proof.
    error WrongProof(bytes32 impliedHead, bytes32 impliedRoot);

    /// @notice Stores (size, root) as the sender's head of `origin`.
    /// @param origin SHA-256 of the log's origin text.
    /// @param size Leaves under `root`; more than the stored head has.
    /// @param root RFC 9162 tree hash of the first `size` leaves.
    /// @param consistency RFC 9162 consistency proof from the stored head to (size, root); empty for the first anchor.
    function anchor(bytes32 origin, uint64 size, bytes32 root, bytes32[] calldata consistency) external;

    /// @notice Returns the latest head; (0, 0) when `publisher` has never anchored `origin`.
    /// @param publisher Whose head.
    /// @param origin SHA-256 of the log's origin text.
    function head(address publisher, bytes32 origin) external view returns (uint64 size, bytes32 root);
}
