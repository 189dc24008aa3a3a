"""How people are shown each noun: which columns, which cells, which sentences.

Views print by `Output` and by `print_table`, which loads rich. The nouns that they show are
imported for types only, so that `--help` and JSON pay for none of them.
"""
