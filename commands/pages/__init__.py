"""The servers of pages that `./run up` starts, and who may ask them."""
