"""The web page: a door to the API with the rights of whoever has logged in, and none of its own."""
