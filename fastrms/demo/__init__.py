"""`fastrms demo`: trains on handwritten digits, stops, resumes in a new process, compares bits."""
