"""What paired answers and paired timings show: drops, speeds, and how sure the rows make us. Pure."""
