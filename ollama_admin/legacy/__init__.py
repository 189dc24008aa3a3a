"""Reads what the variables of a `.env` file mean, and plans what of it goes into the database.

Nothing here touches the database: rows come in, a plan goes out.
"""
