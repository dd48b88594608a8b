"""The decisions: one package per story, each with view, decide and act. Controllers never import one another."""
