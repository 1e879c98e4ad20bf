// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Checkpoints of transparency logs. Nobody owns the contract: a sender writes its own heads only.
contract MillraceAnchor {
    struct Head {
        uint64 size;
        uint64 time;
        bytes32 digest;
    }

    /// The newest head of an account of a sender. Account zero is the whole log.
    mapping(address sender => mapping(bytes32 account => Head)) public heads;

    event Anchored(address indexed sender, bytes32 indexed account, uint64 size, bytes32 digest);

    /// The account has a head of this size or a larger one.
    error NotNewer(uint64 size);

    /// @param account zero for the whole log, or the hash of an object's account
    /// @param size of the log; larger than that of the account's newest head
    /// @param digest SHA-256 of the checkpoint's text
    function anchor(bytes32 account, uint64 size, bytes32 digest) external {
        Head storage head = heads[msg.sender][account];
        if (size <= head.size) revert NotNewer(head.size);
        (head.size, head.time, head.digest) = (size, uint64(block.timestamp), digest);
        emit Anchored(msg.sender, account, size, digest);
    }
}
