"""From a distilled checkpoint to restored images: export, inference, and what they cost."""
