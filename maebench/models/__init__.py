"""What variants are built of: patches, losses, ViT and linear parts."""
