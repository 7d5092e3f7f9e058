"""The proof: runs of the code before and after a repair, and the verdict that their gradients give."""
