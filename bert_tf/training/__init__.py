"""How it is trained: one trainer for every task and every strategy."""
