"""`headrace rewind`: a flow goes to another position, or delivers to another flow what it delivered before."""
