"""The command line: assembles the rooms; thin files, one per command."""
