"""Training: recipe in, model directory out."""
