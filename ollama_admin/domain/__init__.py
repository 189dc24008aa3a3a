"""The nouns, a module for each: frozen data that loads no other library."""
