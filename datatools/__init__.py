"""Pictures in, a catalog of transcriptions, text boxes, scales and captions out."""
