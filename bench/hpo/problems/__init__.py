"""Problems with known answers: problem.py says what one is, catalogue.py which there are."""
