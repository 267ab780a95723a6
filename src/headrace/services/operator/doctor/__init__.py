"""`headrace doctor`: what a data directory holds, and whether it is all there and adds up."""
