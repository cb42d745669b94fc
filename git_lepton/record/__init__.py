"""The bundle, a model's identity; and the committed text that binds it to variants, measurements and provenance."""
