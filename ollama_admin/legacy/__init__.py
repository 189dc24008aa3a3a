"""What the variables of a `.env` file mean, and what of it is to be written; no database here.

A variable is a line: its name tells a role and which server is meant (`layouts`), its value what it
says (`values`, `lists`). A URL makes a server, any other value becomes a field of the server that
its name means (`scope`, `drafts`, `credentials`). A field beside the row of its server is an entry
of the plan (`comparison`, `plan`), and so is, with the reason, whatever cannot be kept.
"""
