"""How an encoder becomes scores: its features, its tasks, its cost."""
