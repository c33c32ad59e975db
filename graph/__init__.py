"""What may be asked, by whom, and how the answers look."""
