"""Anchoring heads on a chain: adapters of :class:`ledger.ports.Anchor` (docs/format.md, section 5).

``embedded`` is a chain of one node inside the process, ``evm`` any node that speaks Ethereum's JSON-RPC.  Both keep
their heads in the same contract (``contracts/AnchorLog.sol``, shipped compiled as ``abi/AnchorLog.json``).
"""
