"""From depth to the colon's wall: motion, surfaces, fusion, coverage, sizes."""
