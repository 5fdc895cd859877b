"""Chats of every dialect: from messages and tools to the sequences that answer them."""
