"""Parity: proof that an exported model answers as the trained one."""
