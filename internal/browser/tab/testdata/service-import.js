self.imported = 3
