"""The fault matrix: what is broken on purpose, how, and what must hold. Rows are data; scenes run them."""
