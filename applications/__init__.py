"""Named models in the style of keras.applications."""
