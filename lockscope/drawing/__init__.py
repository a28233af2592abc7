"""What every picture shares, in a page or by matplotlib: colours, scales, and where the boxes of a lock graph go."""
